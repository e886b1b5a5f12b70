CREATE FEATURE SERVICE s AS
SELECT p.seats
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN plane_model p ON p.tailnum = p.model;
