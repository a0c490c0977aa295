"""The layers without recurrence: one method a file, the function and then the class."""
