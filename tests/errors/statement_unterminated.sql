CREATE ENTITY customer (customer BIGINT;
CREATE ENTITY shop (shop VARCHAR
