alpha = 1
beta = compute(first, second)  # sum of both
gamma = 3
