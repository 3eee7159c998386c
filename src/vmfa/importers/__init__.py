"""Import devices that another system assigned. Each module reads the source of one system.

``read(text)`` of a module returns the items of a source: an
:class:`~vmfa.importers.base.ImportedDevice` for each device, and a
:class:`~vmfa.importers.base.Rejected` for what cannot be imported.
:func:`vmfa.importers.base.adopt_all` adopts the devices.
"""
