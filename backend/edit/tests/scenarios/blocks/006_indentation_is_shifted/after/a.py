class A:
    def run(self):
        x = 1
        return x

class B:
    def run(self):
        if True:
            y = 3
        return y
