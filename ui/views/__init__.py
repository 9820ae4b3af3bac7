"""The pages of the application; each has one function, show, that draws it."""
