alpha = 1
new = 0
beta = compute(first, second)  # sum of both
gamma = 3
