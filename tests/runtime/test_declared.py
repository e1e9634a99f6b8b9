from __future__ import annotations

import sys

import pytest

from headwater.core.errors import DeclarationError
from headwater.runtime.declared import load_app

APP = """
import headwater as hw

class Order(hw.Event, key="order_id"):
    order_id: hw.Field[str]
    late: hw.Field[float]

def make(name):
    label = hw.label(Order.late, join=Order.order_id, on=Order.order_id, within="1h")
    return hw.App(name, models=[hw.Model("late", on=Order, features=[Order.late], label=label)])
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text):
        path = tmp_path / "orders.py"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("declared", ["app = make('orders')\nother = make('other')", "whatever = make('orders')",
                                      "first = second = make('orders')"])  # fmt: skip
def test_the_app_is_the_one_called_so_or_the_only_one(file, declared):
    assert load_app(file(APP + declared)).name == "orders"


def test_a_neighbouring_file_can_be_imported(file, tmp_path):
    (tmp_path / "names_of_orders.py").write_text("NAME = 'orders'")
    assert load_app(file(APP + "from names_of_orders import NAME\napp = make(NAME)")).name == "orders"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"orders\.py: this file does not declare one app; expected app = hw\.App\(\.\.\.\); got none"),
        (APP + "a = make('a')\nb = make('b')", "does not declare one app.*got a, b. Call the one to run `app`"),
        ("\n\n1/0", r"orders\.py:3: this file cannot be run \(ZeroDivisionError"),
        ("\nx = (", r"orders\.py:2: this file cannot be run \(SyntaxError"),
        ("import nothing_of_this_name", r"orders\.py:1: .*ModuleNotFoundError"),
        ("import headwater as hw\nhw.App('x', models=[])", "^x: an app needs a model"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(file, text, message):
    with pytest.raises(DeclarationError, match=message):
        load_app(file(text))


def test_what_is_no_python_file(file, tmp_path):
    with pytest.raises(DeclarationError, match="no such file"):
        load_app(tmp_path / "nowhere.py")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DeclarationError, match="not a Python file"):
        load_app(tmp_path / "notes.txt")
