CREATE FEATURE SERVICE delay AS SELECT o.departures_1h, r.origin FROM REQUEST (origin VARCHAR) r LEFT JOIN airport_load o ON o.airport = r.origin;
CREATE MODEL risky FROM 'risky.onnx' USING delay (x => (departures_1h)) PREDICT (risk DOUBLE, cost REAL, why VARCHAR);
CREATE MODEL only FROM 'only.onnx' USING delay (x => (departures_1h)) PREDICT (risk DOUBLE, why VARCHAR);
CREATE MODEL scores FROM 'scores.onnx' USING delay (x => (departures_1h)) PREDICT (approve DOUBLE, decline DOUBLE, why VARCHAR);

CREATE DEPLOYMENT a AS only WITH (actions = ['approve'], explore = 0.05);
CREATE DEPLOYMENT b AS only WITH (actions = ['approve', 'approve'], thresholds = [0.5]);
CREATE DEPLOYMENT c AS only WITH (actions = ['approve', 'decline']);
CREATE DEPLOYMENT d AS only WITH (actions = ['approve', 'review', 'decline'], thresholds = [0.5]);
CREATE DEPLOYMENT e AS only WITH (actions = ['approve', 'review', 'decline'], thresholds = [0.5, 0.5]);
CREATE DEPLOYMENT f AS risky WITH (actions = ['approve', 'decline'], thresholds = [0.5]);
CREATE DEPLOYMENT g AS risky WITH (actions = ['approve', 'decline'], thresholds = [0.5], decide_by = 'rsk');
CREATE DEPLOYMENT h AS scores WITH (actions = ['approve', 'why']);
CREATE DEPLOYMENT i AS scores WITH (actions = ['approve', 'decline'], decide_by = 'approve', explore = 0);
CREATE DEPLOYMENT j AS scores WITH (thresholds = [0.5], explore_by = 'random');
CREATE DEPLOYMENT k AS only WITH (actions = ['approve', 'decline'], thresholds = [0.5], explore = 0.1, explore_by = 'softmax 1');
CREATE DEPLOYMENT l AS scores WITH (actions = ['approve', 'decline'], explore = 1.5, explore_by = 'softmax warm');
CREATE DEPLOYMENT m AS scores WITH (actions = 'approve', thresholds = 0.5);
