#[test]
fn t1() {
    call(1);
}

#[test]
fn new() {
    call(0);
}

#[test]
fn t2() {
    call(2);
}

#[test]
fn t3() {
    call(3);
}

#[test]
fn t4() {
    call(4);
}

