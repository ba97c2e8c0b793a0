-- The link somebody's role came by, so that revoking the link can end what it gave. Null where no link gave
-- the role: an owner did, or it was given before this was kept.
alter table memberships add column invite blob references invites (id);
