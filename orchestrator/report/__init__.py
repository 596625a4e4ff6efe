"""What people read: tables, progress, reports."""
