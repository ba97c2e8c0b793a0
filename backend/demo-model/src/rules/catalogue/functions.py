# == fizzbuzz
def fizzbuzz(limit):
    """Return the words of fizzbuzz for 1 up to limit."""
    words = []
    for number in range(1, limit + 1):
        word = ""
        if number % 3 == 0:
            word += "Fizz"
        if number % 5 == 0:
            word += "Buzz"
        words.append(word or str(number))
    return words


# == fibonacci
def fibonacci(n):
    """Return the n-th Fibonacci number, counting from fibonacci(0) = 0."""
    current, following = 0, 1
    for _ in range(n):
        current, following = following, current + following
    return current


# == factorial
def factorial(n):
    """Return the product of all whole numbers from 1 to n."""
    if n < 0:
        raise ValueError("factorial is not defined for negative numbers")
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product


# == is_prime
def is_prime(n):
    """Tell whether n is a prime number."""
    if n < 2:
        return False
    divisor = 2
    while divisor * divisor <= n:
        if n % divisor == 0:
            return False
        divisor += 1
    return True


# == gcd
def gcd(a, b):
    """Return the greatest common divisor of a and b."""
    while b:
        a, b = b, a % b
    return abs(a)


# == lcm
def lcm(a, b):
    """Return the least common multiple of a and b."""
    if a == 0 or b == 0:
        return 0
    x, y = a, b
    while y:
        x, y = y, x % y
    return abs(a // x * b)


# == clamp
def clamp(value, low, high):
    """Return value, or the nearer bound where it lies outside of low and high."""
    return max(low, min(value, high))


# == binary_search
def binary_search(items, target):
    """Return the index of target in the sorted items, or -1 if it is not there."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if items[middle] < target:
            low = middle + 1
        else:
            high = middle
    return low if low < len(items) and items[low] == target else -1


# == quicksort
def quicksort(items):
    """Return the items in ascending order."""
    if len(items) < 2:
        return list(items)
    pivot = items[len(items) // 2]
    smaller = [item for item in items if item < pivot]
    equal = [item for item in items if item == pivot]
    larger = [item for item in items if item > pivot]
    return quicksort(smaller) + equal + quicksort(larger)


# == is_palindrome
def is_palindrome(text):
    """Tell whether text reads the same backwards, by its letters and digits alone."""
    letters = [letter.lower() for letter in text if letter.isalnum()]
    return letters == letters[::-1]


# == debounce
def debounce(wait):
    """Return a decorator: the function runs once, wait seconds after its last call."""
    import threading

    def decorate(function):
        timer = None

        def debounced(*args, **kwargs):
            nonlocal timer
            if timer is not None:
                timer.cancel()
            timer = threading.Timer(wait, function, args, kwargs)
            timer.start()

        return debounced

    return decorate


# == throttle
def throttle(interval):
    """Return a decorator: the function runs at most once every interval seconds."""
    import time

    def decorate(function):
        last = None

        def throttled(*args, **kwargs):
            nonlocal last
            now = time.monotonic()
            if last is None or now - last >= interval:
                last = now
                return function(*args, **kwargs)
            return None

        return throttled

    return decorate
