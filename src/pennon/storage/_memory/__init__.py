"""The methods of the memory backend."""
