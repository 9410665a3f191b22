"""
The demo's parts, each alone; the whole of it in a browser is in tests.endtoend.test_demo.
"""
