"""Card processes, and the slots of a plan that they serve: started, watched, replaced."""
