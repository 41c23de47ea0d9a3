"""Writes `orders.csv`: 3,000 orders as the till of a shop might export them. Always the same ones.

    python data/make_orders.py

A few rows are wrong on purpose (`DEFECTS`), and a few come twice (`REPEATED`), as they do in real exports.
The demo compares what was imported with what this file says, not with the importer's own opinion.
"""

import csv
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PRODUCTS = FOLDER.parent / "shop" / "fixtures" / "products.json"

FIELDS = ["order_number", "placed_at", "customer", "email", "items"]
ROWS = 3000
FIRST_ORDER = datetime(2025, 3, 3, 8, 0, tzinfo=UTC)

# What is wrong with which order.
DEFECTS = {
    "T-20117": "quantity 0",
    "T-20388": "quantity -2",
    "T-20702": "quantity two",
    "T-21055": "no items",
    "T-21411": "unknown product",
    "T-21412": "unknown product",
    "T-21830": "no @ in the email address",
    "T-22204": "no email address",
    "T-22369": "no customer",
    "T-22518": "a date that does not exist",
    "T-22777": "quantity 5000",
    "T-22951": "column missing",
}
REPEATED = ["T-20230", "T-21640", "T-22890"]

FIRST_NAMES = """
    Ada Amina Anton Bela Bruno Carla Chidi Clara Daan Dina Elif Emil Erik Fatima Felix Femke Greta Hana Hugo
    Ida Ines Ivo Jana Jonas Kaia Karim Lea Levi Lina Luca Mara Mateo Mei Mila Nadia Nils Noor Olga Oskar Paula
    Pavel Rosa Ruben Samir Sofia Tara Theo Uma Viktor Wanda Yara Zoe
""".split()  # noqa: SIM905  (easier to read than quotes)
LAST_NAMES = """
    Adler Bakker Berg Costa Dahl Demir Eriksen Fischer Garcia Haas Horvat Ivanova Jansen Keller Kovacs Lang
    Lindqvist Martin Meyer Moreau Nagy Novak Okafor Petrov Quist Rossi Santos Sato Schmidt Silva Tanaka Torres
    Ulrich Vega Virtanen Weber Wong Yilmaz Zeller
""".split()  # noqa: SIM905
MAIL_HOSTS = ["example.com", "example.net", "example.org"]


def orders() -> list[dict[str, str]]:
    """Return all rows of the file, defects and repetitions included."""
    dice = random.Random(20250303)
    skus = [row["fields"]["sku"] for row in json.loads(PRODUCTS.read_text(encoding="utf-8"))]
    people = [(first, last) for first in FIRST_NAMES for last in LAST_NAMES]
    dice.shuffle(people)
    regulars, placed_at, rows = people[:900], FIRST_ORDER, []
    for index in range(ROWS - len(REPEATED)):
        # Nobody buys at night; a new day begins at eight.
        placed_at += timedelta(seconds=dice.randrange(20, 900))
        if placed_at.hour >= 22:
            placed_at = placed_at.replace(hour=8, minute=dice.randrange(30)) + timedelta(days=1)
        first, last = dice.choice(regulars)
        items = dice.sample(skus, dice.choice([1, 1, 1, 2, 2, 3, 4]))
        rows.append(
            {
                "order_number": f"T-{20001 + index}",
                "placed_at": placed_at.isoformat(),
                "customer": f"{first} {last}",
                "email": f"{first}.{last}@{MAIL_HOSTS[len(first + last) % 3]}".lower(),
                "items": " ".join(f"{sku}*{dice.choice([1, 1, 1, 2, 3, 6])}" for sku in items),
            }
        )
    for row in rows:
        damage(row)
    by_number = {row["order_number"]: row for row in rows}
    # Far from their originals, so that another chunk of the import meets them.
    for number in REPEATED:
        rows.insert((rows.index(by_number[number]) + 1500) % len(rows), by_number[number])
    return rows


def damage(row: dict[str, str]) -> None:
    """Make the row wrong in the way that `DEFECTS` says, if it does."""
    sku = row["items"].partition("*")[0]
    match DEFECTS.get(row["order_number"]):
        case None:
            pass
        case "no items":
            row["items"] = ""
        case "unknown product":
            row["items"] = "TEA-UNICORN-100*1"
        case "no @ in the email address":
            row["email"] = row["email"].replace("@", ".")
        case "no email address":
            row["email"] = ""
        case "no customer":
            row["customer"] = ""
        case "a date that does not exist":
            row["placed_at"] = "2025-04-31T10:00:00+00:00"
        case "column missing":
            del row["items"]
        case quantity:
            row["items"] = f"{sku}*{quantity.removeprefix('quantity ')}"


def good_numbers() -> set[str]:
    """Return the numbers of the orders that a correct import creates."""
    return {row["order_number"] for row in orders()} - set(DEFECTS)


def write(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(row.values() for row in orders())


if __name__ == "__main__":
    write(FOLDER / "orders.csv")
    print(f"{ROWS} rows, {len(DEFECTS)} of them defective, {len(REPEATED)} repeated: {FOLDER / 'orders.csv'}")
