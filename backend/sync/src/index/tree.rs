//! The tree below the index: a treap with parent links over an arena, which sums units by subtree.
//!
//! Nothing here knows what a document is; order and sums are all there is.

use super::{Id, Index, NIL, Node};

impl Index {
    pub(super) fn allocate(&mut self, mut node: Node) -> u32 {
        // xorshift32 (Marsaglia, 2003).
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        node.priority = self.seed;
        node.visible = node.own_visible();
        node.total = u64::from(node.length);
        if let Some(place) = self.free.pop() {
            self.nodes[place as usize] = node;
            place
        } else {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        }
    }

    pub(super) fn visible_of(&self, node: u32) -> u32 {
        if node == NIL { 0 } else { self.nodes[node as usize].visible }
    }

    pub(super) fn total_of(&self, node: u32) -> u64 {
        if node == NIL { 0 } else { self.nodes[node as usize].total }
    }

    pub(super) fn refresh(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let visible = self.visible_of(node.left) + node.own_visible() + self.visible_of(node.right);
        let total = self.total_of(node.left) + u64::from(node.length) + self.total_of(node.right);
        let node = &mut self.nodes[at as usize];
        node.visible = visible;
        node.total = total;
    }

    /// Units before this one, deleted ones included.
    pub(super) fn place_of(&self, id: Id) -> u64 {
        let mut at = self.node_of(id);
        let node = &self.nodes[at as usize];
        let mut place = self.total_of(node.left) + u64::from(id.clock - node.id.clock);
        loop {
            let parent = self.nodes[at as usize].parent;
            if parent == NIL {
                return place;
            }
            let node = &self.nodes[parent as usize];
            if node.right == at {
                place += self.total_of(node.left) + u64::from(node.length);
            }
            at = parent;
        }
    }

    pub(super) fn refresh_up(&mut self, mut at: u32) {
        while at != NIL {
            self.refresh(at);
            at = self.nodes[at as usize].parent;
        }
    }

    /// Visible units before this node.
    pub(super) fn offset_of(&self, mut at: u32) -> u32 {
        let mut offset = self.visible_of(self.nodes[at as usize].left);
        loop {
            let parent = self.nodes[at as usize].parent;
            if parent == NIL {
                return offset;
            }
            let node = &self.nodes[parent as usize];
            if node.right == at {
                offset += self.visible_of(node.left) + node.own_visible();
            }
            at = parent;
        }
    }

    pub(super) fn first(&self) -> u32 {
        let mut at = self.root;
        while at != NIL && self.nodes[at as usize].left != NIL {
            at = self.nodes[at as usize].left;
        }
        at
    }

    pub(super) fn next(&self, mut at: u32) -> u32 {
        if self.nodes[at as usize].right != NIL {
            at = self.nodes[at as usize].right;
            while self.nodes[at as usize].left != NIL {
                at = self.nodes[at as usize].left;
            }
            return at;
        }
        loop {
            let parent = self.nodes[at as usize].parent;
            if parent == NIL || self.nodes[parent as usize].left == at {
                return parent;
            }
            at = parent;
        }
    }

    pub(super) fn previous(&self, mut at: u32) -> u32 {
        if self.nodes[at as usize].left != NIL {
            at = self.nodes[at as usize].left;
            while self.nodes[at as usize].right != NIL {
                at = self.nodes[at as usize].right;
            }
            return at;
        }
        loop {
            let parent = self.nodes[at as usize].parent;
            if parent == NIL || self.nodes[parent as usize].right == at {
                return parent;
            }
            at = parent;
        }
    }

    /// Links a fresh node right after another in order; `NIL` means at the start.
    pub(super) fn link_after(&mut self, after: u32, node: u32) {
        if self.root == NIL {
            self.root = node;
            return;
        }
        if after == NIL {
            let first = self.first();
            self.nodes[first as usize].left = node;
            self.nodes[node as usize].parent = first;
        } else if self.nodes[after as usize].right == NIL {
            self.nodes[after as usize].right = node;
            self.nodes[node as usize].parent = after;
        } else {
            let next = self.next(after);
            self.nodes[next as usize].left = node;
            self.nodes[node as usize].parent = next;
        }
        self.refresh_up(node);
        loop {
            let parent = self.nodes[node as usize].parent;
            if parent == NIL || self.nodes[parent as usize].priority >= self.nodes[node as usize].priority {
                break;
            }
            self.rotate_up(node);
        }
    }

    /// Takes a node out of the tree.
    pub(super) fn unlink(&mut self, node: u32) {
        loop {
            let (left, right) = (self.nodes[node as usize].left, self.nodes[node as usize].right);
            if left == NIL || right == NIL {
                let child = if left == NIL { right } else { left };
                let parent = self.nodes[node as usize].parent;
                if child != NIL {
                    self.nodes[child as usize].parent = parent;
                }
                self.replace_child(parent, node, child);
                self.refresh_up(parent);
                return;
            }
            let higher = self.nodes[left as usize].priority >= self.nodes[right as usize].priority;
            self.rotate_up(if higher { left } else { right });
        }
    }

    pub(super) fn replace_child(&mut self, parent: u32, old: u32, new: u32) {
        if parent == NIL {
            self.root = new;
        } else if self.nodes[parent as usize].left == old {
            self.nodes[parent as usize].left = new;
        } else {
            self.nodes[parent as usize].right = new;
        }
    }

    pub(super) fn rotate_up(&mut self, node: u32) {
        let parent = self.nodes[node as usize].parent;
        let above = self.nodes[parent as usize].parent;
        let moved;
        if self.nodes[parent as usize].left == node {
            moved = self.nodes[node as usize].right;
            self.nodes[parent as usize].left = moved;
            self.nodes[node as usize].right = parent;
        } else {
            moved = self.nodes[node as usize].left;
            self.nodes[parent as usize].right = moved;
            self.nodes[node as usize].left = parent;
        }
        if moved != NIL {
            self.nodes[moved as usize].parent = parent;
        }
        self.nodes[parent as usize].parent = node;
        self.nodes[node as usize].parent = above;
        self.replace_child(above, parent, node);
        self.refresh(parent);
        self.refresh(node);
    }
}
