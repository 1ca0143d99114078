"""What people look at: terminal tables, the report page and plots of a run; all from ``results.json``."""
