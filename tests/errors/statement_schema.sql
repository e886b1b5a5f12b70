CREATE ENTITY shop.customer (customer BIGINT);
