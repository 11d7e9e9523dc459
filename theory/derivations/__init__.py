"""The derivations, one file a subject; each function derives one closed form and is entered by ``@derivation``."""
