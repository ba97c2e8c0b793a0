"""A small till, to try things out on."""


def price_with_tax(price, rate=0.19):
    return round(price * (1 + rate), 2)


def add_up(items):
    total = 0
    for name, price, count in items:
        total += price * count
    return total


def receipt(items):
    lines = []
    for name, price, count in items:
        lines.append(f"{count} x {name:<12} {price * count:>8.2f}")
    total = add_up(items)
    lines.append(f"{'Total':<16} {total:>8.2f}")
    lines.append(f"{'With tax':<16} {price_with_tax(total):>8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    basket = [("apples", 0.5, 6), ("bread", 2.8, 1), ("tea", 3.2, 2)]
    print(receipt(basket))
