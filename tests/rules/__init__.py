"""Each sentence of the assignment rules, as a test that fails when the sentence is false."""
