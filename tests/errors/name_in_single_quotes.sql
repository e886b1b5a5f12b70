CREATE ENTITY 'customer' (customer BIGINT);
