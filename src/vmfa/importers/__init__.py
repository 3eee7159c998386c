"""Take over devices that another system assigned, with their replay positions: one module a source.

Each source's ``read(text)`` gives entries; :func:`vmfa.importers.base.adopt_all` adopts them.
"""
