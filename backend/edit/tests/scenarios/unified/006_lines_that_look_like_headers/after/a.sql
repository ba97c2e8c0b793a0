select 1;
++ second
select 2;
