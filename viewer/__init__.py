"""Every face a person sees: the desktop window, the terminal, the report, pictures and movies."""
