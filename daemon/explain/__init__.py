"""What an operator asks of a decision: by which rule, with which numbers, what comes next, what a person can do."""
