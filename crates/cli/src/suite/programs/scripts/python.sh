python3 ../pages.py
