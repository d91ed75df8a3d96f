create role :"user" login password :'password';
create database :"name" owner :"user";
\connect :"name"
set role :"user";
create table orders (
    id serial primary key,
    item text not null,
    state text not null default 'new',
    made timestamptz not null default now()
);
