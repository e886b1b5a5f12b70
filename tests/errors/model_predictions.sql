CREATE FEATURE SERVICE delay AS
SELECT o.departures_1h, o.avg_delay_1h, r.origin, r.distance, r.request_time AS at
FROM REQUEST (origin VARCHAR, distance DOUBLE) r LEFT JOIN airport_load o ON o.airport = r.origin;

CREATE MODEL a FROM 'a.onnx' USING delay (x => (departures_1h)) PREDICT (y DECIMAL(9, 2), z TIMESTAMP, w VARCHAR(3), v DOUBLE[][]);
CREATE MODEL b FROM 'b.onnx' USING delay (x => (departures_1h)) PREDICT (all_of_them DOUBLE[] FROM probabilities['1']);
