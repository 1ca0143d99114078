"""What people look at: terminal tables, the report page and plots of a run; all made from ``results.json``."""
