"""The theorems, one file a subject; each function states one and is entered by ``@theorem``."""
