"""How the models are made and measured: tokenizer, recipe, ladder, evaluation, cards. No lesson and no check needs it."""
