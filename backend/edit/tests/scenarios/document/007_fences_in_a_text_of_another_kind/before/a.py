"""Says hi.

```
hi()
```
"""

def hi():
    print("hi")
