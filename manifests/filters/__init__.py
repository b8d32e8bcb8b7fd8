"""Filter rules of a recipe: which columns there are, what an expression may say, and what it says of an utterance."""
