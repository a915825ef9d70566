"""Shows the help of a `setting` as the docstring of its field, in the API reference."""

import ast

import griffe


class Settings(griffe.Extension):
    """Reads ``name: type = setting(default, "help", ...)``."""

    def on_attribute_instance(self, *, node, attr, **_):
        """Gives the attribute its default as value and the help as docstring."""
        match getattr(node, "value", None):
            case ast.Call(func=ast.Name(id="setting"), args=[default, help_text, *_]):
                attr.value = ast.unparse(default)
                attr.docstring = griffe.Docstring(ast.literal_eval(help_text), parent=attr)
