"""What a notebook may call of Colab's `google.colab.output`."""


def enable_custom_widget_manager() -> None:
    """Colab then shows widgets of other packages; ipywidgets' own need no call."""


def disable_custom_widget_manager() -> None:
    """The opposite."""
