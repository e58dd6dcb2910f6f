"""Where folders that were saved before 0.1 look for their module; the class lives in `embedkit.model.changing`."""

from embedkit.model.changing.soft_prompts import SoftPromptTransformer

__all__ = ["SoftPromptTransformer"]
