"""What the project promises in numbers, measured: ``make bench`` runs every module here."""
