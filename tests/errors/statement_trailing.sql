CREATE ENTITY customer (customer BIGINT) ORDER BY customer;
