"""Metrics, logs, traces, drift and the audit trail."""
