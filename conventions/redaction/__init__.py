"""What should not be kept: finding it in text, and taking it out of values of any shape. Pure.

* `detectors.py`: secrets, e-mail addresses, card numbers, telephone numbers, IP addresses.
* `rules.py`: what is looked for, and what becomes of it; `Redactor` applies it to text, JSON in text included.
* `patterns.py`: regular expressions from a configuration, those that could take for ever refused.
"""
