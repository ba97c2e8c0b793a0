// == fizzbuzz
/** Returns the words of fizzbuzz for 1 up to `limit`. */
function fizzbuzz(limit: number): string[] {
    const words: string[] = [];
    for (let number = 1; number <= limit; number += 1) {
        let word = "";
        if (number % 3 === 0) word += "Fizz";
        if (number % 5 === 0) word += "Buzz";
        words.push(word || String(number));
    }
    return words;
}

// == fibonacci
/** Returns the n-th Fibonacci number, counting from fibonacci(0) = 0. */
function fibonacci(n: number): number {
    let current = 0;
    let following = 1;
    for (let step = 0; step < n; step += 1) {
        [current, following] = [following, current + following];
    }
    return current;
}

// == factorial
/** Returns the product of all whole numbers from 1 to `n`. */
function factorial(n: number): number {
    if (n < 0) {
        throw new RangeError("factorial is not defined for negative numbers");
    }
    let product = 1;
    for (let factor = 2; factor <= n; factor += 1) {
        product *= factor;
    }
    return product;
}

// == is_prime
/** Tells whether `n` is a prime number. */
function isPrime(n: number): boolean {
    if (n < 2) {
        return false;
    }
    for (let divisor = 2; divisor * divisor <= n; divisor += 1) {
        if (n % divisor === 0) {
            return false;
        }
    }
    return true;
}

// == gcd
/** Returns the greatest common divisor of `a` and `b`. */
function gcd(a: number, b: number): number {
    while (b !== 0) {
        [a, b] = [b, a % b];
    }
    return Math.abs(a);
}

// == lcm
/** Returns the least common multiple of `a` and `b`. */
function lcm(a: number, b: number): number {
    if (a === 0 || b === 0) {
        return 0;
    }
    let [x, y] = [a, b];
    while (y !== 0) {
        [x, y] = [y, x % y];
    }
    return Math.abs((a / x) * b);
}

// == clamp
/** Returns `value`, or the nearer bound where it lies outside of `low` and `high`. */
function clamp(value: number, low: number, high: number): number {
    return Math.max(low, Math.min(value, high));
}

// == binary_search
/** Returns the index of `target` in the sorted `items`, or -1 if it is not there. */
function binarySearch<T>(items: readonly T[], target: T): number {
    let low = 0;
    let high = items.length;
    while (low < high) {
        const middle = Math.floor((low + high) / 2);
        if (items[middle] < target) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < items.length && items[low] === target ? low : -1;
}

// == quicksort
/** Returns the items in ascending order. */
function quicksort<T>(items: readonly T[]): T[] {
    if (items.length < 2) {
        return [...items];
    }
    const pivot = items[Math.floor(items.length / 2)];
    const smaller = items.filter((item) => item < pivot);
    const equal = items.filter((item) => item === pivot);
    const larger = items.filter((item) => item > pivot);
    return [...quicksort(smaller), ...equal, ...quicksort(larger)];
}

// == is_palindrome
/** Tells whether `text` reads the same backwards, by its letters and digits alone. */
function isPalindrome(text: string): boolean {
    const letters = [...text.toLowerCase()].filter((letter) => /[\p{L}\p{N}]/u.test(letter));
    return letters.join("") === letters.reverse().join("");
}

// == debounce
/** Returns a function that runs `action` once, `wait` milliseconds after its last call. */
function debounce<A extends unknown[]>(action: (...args: A) => void, wait: number): (...args: A) => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    return (...args) => {
        clearTimeout(timer);
        timer = setTimeout(() => action(...args), wait);
    };
}

// == throttle
/** Returns a function that runs `action` at most once every `interval` milliseconds. */
function throttle<A extends unknown[]>(action: (...args: A) => void, interval: number): (...args: A) => void {
    let last = -Infinity;
    return (...args) => {
        const now = Date.now();
        if (now - last >= interval) {
            last = now;
            action(...args);
        }
    };
}
