"""The commands of `zim`: for each its arguments and its `main`, which imports what is heavy."""
