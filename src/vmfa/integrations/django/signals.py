"""The signal for audit events."""

from __future__ import annotations

from django.dispatch import Signal

audit_event = Signal()
"""Is sent with ``event``, an :class:`vmfa.AuditEvent`, after each commit and for transient events.

An exception in a receiver is logged by Django and changes no answer.
"""
