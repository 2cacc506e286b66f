"""How the models are made: tokenizer, recipe, ladder, data card. No lesson and no check needs it."""
