"""Unit tests of local/event_grid."""
