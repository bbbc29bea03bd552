"""Tools: what a person does with the mouse, turned into surgical acts. No window toolkit is known here."""
