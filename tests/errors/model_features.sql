CREATE FEATURE SERVICE delay AS
SELECT r.request_time AS at, r.request_time - p.last_departed_at AS idle, r.born, r.amount, r.picture, [[1.0], [2.0]] AS grid, o.avg_delay_1h, r.words
FROM REQUEST (origin VARCHAR, tailnum VARCHAR, born DATE, amount DECIMAL(9, 2), picture BYTEA, words VARCHAR[]) r
LEFT JOIN airport_load o ON o.airport = r.origin
LEFT JOIN plane_recent p ON p.tailnum = r.tailnum;
CREATE MODEL a FROM 'a.onnx' USING delay (x => (*)) PREDICT (y DOUBLE);
