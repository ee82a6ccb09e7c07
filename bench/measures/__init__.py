"""What is measured, a module each: a function from the bed to a JSON object. bench/report.py makes tables of them."""
