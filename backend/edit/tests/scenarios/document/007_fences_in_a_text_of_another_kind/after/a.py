"""Says hi.

```
hi()
```
"""

def hi():
    print("hello")
