"""What a training costs, before it is spent: parameters, operations, memory, communication, days and money.

Everything here is arithmetic on a model's dimensions and a recipe. No engine is imported, nothing is downloaded.
"""
